"""Kubeflow Pipelines: the six steps as thin components, compiled to IR YAML and run by `kfp.local`."""
