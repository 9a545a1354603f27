package capture

import (
	"encoding/binary"
	"hash/crc32"
)

// mended gives a file with every checksum made right, as far as records can be
// made out.
func mended(b []byte) []byte {
	b = append([]byte(nil), b...)
	le := binary.LittleEndian
	if len(b) < fileHeader {
		return b
	}
	le.PutUint32(b[0x3c:], crc32.Checksum(b[:0x3c], castagnoli))
	for at := fileHeader; at+recordHeader <= len(b); {
		head := b[at:]
		n := le.Uint64(head[0x10:])
		if n <= uint64(len(head)-recordHeader) {
			le.PutUint32(head[0x20:], crc32.Checksum(head[recordHeader:recordHeader+n], castagnoli))
		}
		le.PutUint32(head[0x24:], crc32.Checksum(head[:0x24], castagnoli))
		if n > uint64(len(head)-recordHeader) {
			break
		}
		at += recordHeader + int(n)
	}
	return b
}
