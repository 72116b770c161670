"""The catalogue: what cloud providers offer, as data, one file for each surface.

    *.yaml      models with tasks, sizes, prices and dates, each figure with its source; systems that are absent, with the reason
    loading     the files as typed rows
    merging     a row with what a Provider says in its place
    table       the rows as tables for people

A model that is gone stays, in state Retired, with its successor's name. Anyone may import this package; it imports the contract
(`easel_api.offers`) alone, and calls nobody.
"""
