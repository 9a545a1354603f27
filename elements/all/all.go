// Package all registers every element mpipe brings. Import it for its effect:
//
//	import _ "github.com/mpipe/mpipe/elements/all"
//
// It holds imports and nothing else.
package all

import (
	_ "github.com/mpipe/mpipe/elements/browser"
	_ "github.com/mpipe/mpipe/elements/encode"
	_ "github.com/mpipe/mpipe/elements/filter"
	_ "github.com/mpipe/mpipe/elements/process"
	_ "github.com/mpipe/mpipe/elements/shmsrc"
	_ "github.com/mpipe/mpipe/elements/sink"
	_ "github.com/mpipe/mpipe/elements/wire"
)
