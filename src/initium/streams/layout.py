"""How work is handed to compiled kernels: rows of integers, and tables of numbers."""

# float32 values are computed a tile at a time: so many blocks of four words; its planes and values
# take 32 KiB, the size of a first-level cache
BLOCKS = 512
# one row a piece of work: where to write; the stream's key; the first element; how many elements
# follow each other; how far the next run starts behind; how many runs; which table of numbers
COLUMNS = ("address", "key", "first", "run", "stride", "runs", "table")
# one table a distribution and dtype: kind, whether computed in float64, how it is stored, and up
# to eight numbers (see `parameters.Parameters`)
NUMBERS = 11
FLOAT32, FLOAT64, BFLOAT16, FLOAT16 = 0, 1, 2, 3
# what a kernel works in: four planes of words, 8 KiB, then three times as much for values
SCRATCH = 4 * BLOCKS * 4 * 4
# orthonormal columns are computed in tiles of so many rows and columns; of those, so many columns
# lie together, row by row
TILE, PANEL = 128, 16
