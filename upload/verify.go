package upload

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// expected is what the finished object has to be like. Texts are "" when they
// cannot be known.
type expected struct {
	size  int64
	parts int
	// S3 has two CRC32 of an object: of all its bytes, and of its parts' CRC32
	// with "-" and their number. It says which one it gives.
	full, composite string
	etag            string // of an object in parts, where ETags are MD5
}

func (u *Upload) expected() expected {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := expected{parts: len(u.parts)}
	var full uint32
	var sums, etags []byte
	for _, p := range u.parts {
		e.size += p.size
		full = combineCRC(full, p.crc, p.size)
		if p.known {
			sums = binary.BigEndian.AppendUint32(sums, p.crc)
		}
		if b, err := hex.DecodeString(strings.Trim(p.etag, `"`)); err == nil && len(b) == md5.Size {
			etags = append(etags, b...)
		}
	}
	if len(sums) == 4*len(u.parts) {
		e.full = checksum(full)
		e.composite = fmt.Sprintf("%s-%d", checksum(crc32.ChecksumIEEE(sums)), len(u.parts))
	}
	if len(etags) == md5.Size*len(u.parts) {
		e.etag = fmt.Sprintf("%x-%d", md5.Sum(etags), len(u.parts))
	}
	return e
}

// match compares an object with what it has to be: by is what it was compared by,
// wrong what differs.
func (e expected) match(h *s3.HeadObjectOutput) (by, wrong string) {
	if n := aws.ToInt64(h.ContentLength); n != e.size {
		return "size", fmt.Sprintf("it has %d bytes instead of %d", n, e.size)
	}
	if got := aws.ToString(h.ChecksumCRC32); got != "" && e.full != "" {
		want := e.full
		if strings.Contains(got, "-") {
			want = e.composite
		}
		if got != want {
			return "crc32", fmt.Sprintf("its CRC32 is %s instead of %s", got, want)
		}
		return "crc32", ""
	}
	if strings.Trim(aws.ToString(h.ETag), `"`) == e.etag && e.etag != "" {
		return "etag", ""
	}
	return "size", "" // an ETag need not be an MD5, so another one says nothing
}

func (u *Upload) head(ctx context.Context, c *s3.Client) (*s3.HeadObjectOutput, error) {
	return c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.o.Bucket, Key: &u.o.Key, ChecksumMode: types.ChecksumModeEnabled})
}

// isOurs is whether the key holds what this upload makes, as after a request that
// was carried out while its answer was lost.
func (u *Upload) isOurs(ctx context.Context, c *s3.Client) bool {
	h, err := u.head(ctx, c)
	return err == nil && u.made(h)
}

// made is whether an object is this upload's; one without anything to compare
// but its size has to be younger.
func (u *Upload) made(h *s3.HeadObjectOutput) bool {
	by, wrong := u.expected().match(h)
	return wrong == "" && (by != "size" || h.LastModified != nil && !h.LastModified.Before(u.born.Add(-clockSkew)))
}

// verify asks for the finished object. out is what completing it gave, nil for an
// object sent by one request.
func (u *Upload) verify(out *s3.CompleteMultipartUploadOutput) (*Result, error) {
	want := u.expected()
	r := &Result{Location: u.o.Place.String(), Size: want.size, Parts: want.parts}
	if out != nil {
		r.ETag, r.Version = strings.Trim(aws.ToString(out.ETag), `"`), aws.ToString(out.VersionId)
	}
	if crc, ok := parseChecksum(want.full); ok {
		r.CRC32 = fmt.Sprintf("%08x", crc)
	}
	var h *s3.HeadObjectOutput
	err := u.st.do(u.ctx, "looking at the finished object", 0, func(ctx context.Context, a attempt) (err error) {
		h, err = u.head(ctx, a.client)
		return err
	})
	if KindOf(err) == Denied {
		u.log.Warn("the store does not let these credentials look at the object: its own word has to do")
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	by, wrong := want.match(h)
	if wrong != "" {
		return nil, &Error{Kind: Damaged, Where: r.Location, Msg: "the store completed the object, but " + wrong}
	}
	r.Verified = by
	r.ETag, r.Version = strings.Trim(aws.ToString(h.ETag), `"`), aws.ToString(h.VersionId)
	return r, nil
}
