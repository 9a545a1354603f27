// Package bench measures mpipe as a whole against a peer that does the same, in
// pairs within one run: machines differ and drift, ratios hold. It has
// benchmarks only; run them with `make bench`. What the ring promises is printed
// beside what it does by BenchmarkPromise.
package bench
