// Package doctor explains in words why a ring stands still or looks odd: who is
// attached and alive, what everything waits for, since when, and what to do.
//
// It looks twice, some time apart, from outside: through read-only mappings and
// /proc. It changes nothing, and judges only by what it saw; what it cannot see, it
// does not say. How a ring is laid out is package ring's matter.
package doctor
