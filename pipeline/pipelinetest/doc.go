// Package pipelinetest checks that an element is what a graph may rely on. One
// call runs the suite on any registered type, with real GStreamer:
//
//	func TestWatermark(t *testing.T) { pipelinetest.Conform(t, "watermark", pipelinetest.Options{}) }
//
// Run it with -race as well: frames, live changes and the end come from different
// threads. Importing the package registers two types for graphs of tests, [Source]
// and [Sink]; no program that is not a test should.
package pipelinetest
