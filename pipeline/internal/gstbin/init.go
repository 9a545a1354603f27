package gstbin

/*
#cgo pkg-config: gstreamer-1.0 gstreamer-app-1.0 gstreamer-audio-1.0 gstreamer-video-1.0
#cgo CFLAGS: -O2 -Wall -Wextra -Wno-unused-parameter -Wno-deprecated-declarations
#include "shim.h"
#include "gofilter.h"
*/
import "C"

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/go-gst/go-gst/gst"
)

var initOnce sync.Once

// Init starts GStreamer, once a process. The first start on a machine scans the
// installed plugins and can take seconds.
func Init() {
	initOnce.Do(func() { gst.Init(nil); C.mpipe_gofilter_register() })
}

// Version is the version of the GStreamer that is loaded: "1.22.0".
func Version() string {
	var major, minor, micro, nano C.guint
	C.gst_version(&major, &minor, &micro, &nano)
	return fmt.Sprintf("%d.%d.%d", major, minor, micro)
}

// cstr makes a C string that free releases.
func cstr(s string) (c *C.char, free func()) {
	c = C.CString(s)
	return c, func() { C.g_free(C.gpointer(unsafe.Pointer(c))) }
}

// element is the C side of a go-gst element.
func element(e *gst.Element) *C.GstElement {
	return (*C.GstElement)(e.Unsafe())
}
