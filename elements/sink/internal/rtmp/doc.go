// Package rtmp publishes one stream to an RTMP or RTMPS server: handshake,
// chunks, AMF0, the commands up to publish, sending, and an end that the server
// has confirmed. It is after Adobe's "RTMP specification 1.0" (2012) and "FLV
// file format 10.1" (2010); section numbers in comments are of the former.
//
// It knows nothing of graphs, GStreamer or retries, and imports the standard
// library and x/sys alone. It does not play, serve, or speak RTMPT and RTMPE.
// No text that leaves it holds a stream key.
package rtmp
