// Package encode holds the encoders: each is one file that maps mpipe's words,
// the same for all of them, to the properties of one GStreamer element. Nothing
// here touches GStreamer; an encoder is data.
//
// type = "gst" is the way out: any installed element by its GStreamer name.
package encode
