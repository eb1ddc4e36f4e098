"""Systems of other publications, rebuilt as far as these and their authors' code describe them."""
