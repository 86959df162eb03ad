"""Neighbourhood attention: softmax over the tokens of a picture that lie nearest."""
