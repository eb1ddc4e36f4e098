"""A trained model in use: packing it, cutting recordings into utterances, transcribing and classifying them.

Imports every package above except `report`, whose content a packed model carries as plain values.
"""
