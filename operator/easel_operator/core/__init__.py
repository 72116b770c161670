"""The pure part: what the cluster should hold, given what it holds now.

    model/  a ModelDeployment and its children      job/  a GenerationJob and its batch Job
    provider/  a Provider's offers and its ledger

`decide(view, environment) -> Decision` takes everything as values, the clock and the configuration included, and
returns actions. Nothing here does I/O, reads a clock or the environment, or draws at random, so that a test can put
any state in and compare what comes out. The shell calls it; it imports `easel_api` alone.
"""
