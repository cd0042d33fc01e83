"""The index and the blob store: contracts in `base`, implementations beside it."""
