"""S3 and what speaks its protocol, through Arrow's file system: files of sources, hours of the prediction log."""
