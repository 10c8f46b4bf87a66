"""Sources: typed reads of files and SQL tables into `Dataset`s; refused when they are not what was declared."""
