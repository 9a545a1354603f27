// Package hls makes HLS recordings (RFC 8216) out of the bytes of one muxer: it
// cuts a fragmented MP4 or an MPEG-TS into segments that begin with a key frame,
// and keeps a playlist of those that are whole.
//
// It parses no more of a container than cutting needs, and knows nothing of
// pipelines, GStreamer or stores: what it makes goes to a Store.
package hls
