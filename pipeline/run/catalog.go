package run

import (
	"sync"

	"github.com/mpipe/mpipe/pipeline"
	"github.com/mpipe/mpipe/pipeline/internal/gstbin"
)

var installed = sync.OnceValue(func() pipeline.Catalog {
	gstbin.Init()
	return &gstbin.Catalog{}
})

// Catalog knows the GStreamer elements installed here. The first call starts
// GStreamer.
func Catalog() pipeline.Catalog { return installed() }

// GStreamerVersion is the version of the GStreamer in use: "1.22.0".
func GStreamerVersion() string {
	gstbin.Init()
	return gstbin.Version()
}
