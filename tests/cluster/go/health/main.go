// What GitOps tools make of an object: kstatus, Argo CD's Lua health script and Flux's health check expressions, each by
// the library that the tool itself uses.
//
// Standard input holds one question a line, {"object": {...}, "lua": "...", "flux": {"current": "...", ...}}, standard
// output one answer a line. kstatus is asked of every object, the others when they are in the question.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type question struct {
	Object json.RawMessage                   `json:"object"`
	Lua    string                            `json:"lua"`
	Flux   *kustomize.HealthCheckExpressions `json:"flux"`
}

type answer struct {
	Kstatus     string `json:"kstatus"`
	Argo        string `json:"argo,omitempty"`
	ArgoMessage string `json:"argoMessage,omitempty"`
	Flux        string `json:"flux,omitempty"`
}

func main() {
	reader, encoder := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		check(err)
		said, err := ask(line)
		check(err)
		check(encoder.Encode(said))
	}
}

func ask(line []byte) (answer, error) {
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{}, err
	}
	// Whole numbers stay whole, as they do in the tools.
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(asked.Object); err != nil {
		return answer{}, err
	}
	computed, err := status.Compute(object)
	if err != nil {
		return answer{}, err
	}
	said := answer{Kstatus: computed.Status.String()}
	if asked.Lua != "" {
		if said.Argo, said.ArgoMessage, err = argo(asked.Lua, object); err != nil {
			return answer{}, err
		}
	}
	if asked.Flux != nil {
		if said.Flux, err = flux(asked.Flux, object); err != nil {
			return answer{}, err
		}
	}
	return said, nil
}

// Argo CD opens no libraries but these (and a reduced `os`) for a health script, and gives it the object as `obj`.
func argo(script string, object *unstructured.Unstructured) (string, string, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", "", err
		}
	}
	state.SetGlobal("obj", table(state, object.Object))
	if err := state.DoString(script); err != nil {
		return "", "", err
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", errors.New("the script returned no table")
	}
	return lua.LVAsString(health.RawGetString("status")), lua.LVAsString(health.RawGetString("message")), nil
}

func table(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		made := state.NewTable()
		for key, item := range value {
			made.RawSetString(key, table(state, item))
		}
		return made
	case []any:
		made := state.NewTable()
		for _, item := range value {
			made.Append(table(state, item))
		}
		return made
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}

func flux(expressions *kustomize.HealthCheckExpressions, object *unstructured.Unstructured) (string, error) {
	evaluator, err := cel.NewStatusEvaluator(expressions)
	if err != nil {
		return "", err
	}
	result, err := evaluator.Evaluate(context.Background(), object)
	if err != nil {
		// Flux waits and asks again.
		return "Waiting: " + err.Error(), nil
	}
	return result.Status.String(), nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
