package upload

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// crc32Of the concatenation of two strings, from theirs and the length of the
// second: appending n bytes multiplies the first by x^(8n) modulo the polynomial.
func combineCRC(first, second uint32, n int64) uint32 {
	return mulCRC(powCRC(n), first) ^ second
}

// powCRC is x^(8n), with the polynomial's highest power in the highest bit, as
// all of CRC32 is reflected.
func powCRC(n int64) uint32 {
	p, square := uint32(1)<<31, uint32(1)<<23 // x^0, x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			p = mulCRC(p, square)
		}
		square = mulCRC(square, square)
	}
	return p
}

func mulCRC(a, b uint32) (p uint32) {
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return p
}

// checksum is the form S3 has for a CRC32: base64 of its big-endian bytes.
func checksum(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

// parseChecksum reads that form.
func parseChecksum(s string) (uint32, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}
