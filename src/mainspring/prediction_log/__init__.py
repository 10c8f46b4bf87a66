"""The prediction log: segments appended before the answer, Parquet by event date and hour after."""
