"""Where the prediction log goes on to: hours that are sent, looked at again, read back and checked; whatever the store."""
