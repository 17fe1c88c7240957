"""The recipe that makes the shipped model: dataset, teacher, train, export, and what compares."""
