package ring

import _ "embed"

// CHeader is c/mpipe_ring.h, the producer's side for C11 and C++17, for programs
// that compile one.
//
//go:embed c/mpipe_ring.h
var CHeader string
