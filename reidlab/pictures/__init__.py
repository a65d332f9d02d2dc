"""One's own pictures: searched with any network of the study, two of them compared."""
