"""Small inputs that are unusual in one way each."""
