package cli

import (
	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/reference"
)

func schemaVerb() *verb {
	return &verb{
		name:  "schema",
		short: "print the JSON Schema of graph files, for editors",
		long: `Editors with support for TOML and JSON Schema complete keys and values with it,
show what they mean and mark what is wrong. It knows the elements of this binary.`,
		examples: []example{
			{"mpipe schema > mpipe.schema.json", "then, in the first line of a graph: #:schema ./mpipe.schema.json"},
		},
		declare: func(*flags) func(*call) int {
			return func(c *call) int {
				printJSON(c.stdout, reference.Schema(pipeline.Types()))
				return 0
			}
		},
	}
}
