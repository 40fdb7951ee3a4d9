"""Where the data are: public data sets, the config's files, and what is wrong with them."""
