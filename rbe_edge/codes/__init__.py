"""The codes that a weight matrix is stored in: trellis, basis, seed64."""
