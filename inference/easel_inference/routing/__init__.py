"""Who makes an item: a pure choice among the team's own models and what providers offer.

    request     what an item asks for, whoever makes it
    capability  whether an offer can make it, and what it makes of what was asked
    price       what that costs, or that nobody knows
    plan        the candidates of a request in the policy's order, with the reason for each that is out for good
    decision    the one that makes the next item, by what is so at this moment
    classes     a job, its class and Providers as what a choice is made of
    breaker     when a backend that fails is left alone, and tried again

A plan is made once for all items of a job that ask for the same; a decision is made for each item. Nothing here has a clock, a
network or randomness: moments and dice come in as values. The worker and the CLI call it; it imports the contract and the
catalogue alone.
"""
