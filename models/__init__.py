"""The recipe that makes the shipped model: data, network, train, evaluate, export."""
