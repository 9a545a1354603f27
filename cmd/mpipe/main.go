// Command mpipe records and streams what another process draws and plays.
//
// To build one with elements of your own, copy this file and import their
// packages beside elements/all.
package main

import (
	"os"

	"github.com/mpipe/mpipe/cli"
	_ "github.com/mpipe/mpipe/elements/all"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
