"""Raw values become numbers to fit on: encoders, and the design matrix in blocks of rows."""
