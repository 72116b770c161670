// Pod is the one program of the pods that the cluster's own tests run, and what holds namespaces open.
//
//	pod pause              waits, reaping the processes that others leave behind: a pod's sandbox, the node's first process
//	pod serve :8080        answers each request with the machine's name
//	pod fetch URL          prints what an address answers
//	pod resolve NAME       prints the addresses of a name, one a line
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 || arguments[0] == "pause" {
		return pause()
	}
	if len(arguments) != 2 {
		return fmt.Errorf("pause, serve ADDRESS, fetch URL or resolve NAME, not %q", arguments)
	}
	switch arguments[0] {
	case "serve":
		return serve(arguments[1])
	case "fetch":
		return fetch(arguments[1])
	case "resolve":
		return resolve(arguments[1])
	}
	return fmt.Errorf("no command %q", arguments[0])
}

func pause() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for each := range signals {
		if each != syscall.SIGCHLD {
			return nil
		}
		for {
			// One signal may stand for many ended processes.
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	http.HandleFunc("/", func(writer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(writer, name) })
	return http.ListenAndServe(address, nil)
}

func fetch(url string) error {
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func resolve(name string) error {
	addresses, err := net.LookupHost(name)
	if err != nil {
		return err
	}
	sort.Strings(addresses)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return nil
}
