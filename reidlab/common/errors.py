"""The errors that the study raises on purpose: each names the culprit and the remedy."""


class ReidlabError(ValueError):
    """Base of every error below, so that a notebook can catch them in one clause."""


class DataError(ReidlabError):
    """A dataset, archive, image or file name that is not what its format promises."""


class WeightsError(ReidlabError):
    """A checkpoint that does not fit the network, or is not a plain file of tensors."""


class StudyError(ReidlabError):
    """A profile, notebook or parameter that the study does not have."""
