"""Parts lists: the only place that knows a platform's name and puts adapters into ports."""
