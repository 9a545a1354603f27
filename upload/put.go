package upload

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// put sends an object by one request; o says where and how.
type put struct {
	o    Options
	st   *store
	born time.Time // of the upload that it is for
}

// send sends p, all of the object, until the store has it. Without overwrite an
// object that is there is an error, unless it is this very one.
func (x put) send(ctx context.Context, f *os.File, p *part, overwrite bool) error {
	in := x.input(p, overwrite)
	err := x.st.do(ctx, "sending the object", 0, func(ctx context.Context, a attempt) error {
		in.Body = newBody(f, p, a.beat)
		_, err := a.client.PutObject(ctx, in)
		if err == nil {
			return nil
		}
		err = x.st.verdict(ctx, err, func() error {
			_, err := a.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &x.o.Bucket, Prefix: &x.o.Key, MaxKeys: aws.Int32(1)})
			return err
		})
		e := x.st.classify("", err)
		if e.unsure || e.Kind == Exists {
			if there, unknown := x.isThere(ctx, a.client, p); there || unknown != nil {
				return unknown
			}
		}
		switch {
		case in.IfNoneMatch != nil && codeOf(e) == "NotImplemented":
			in.IfNoneMatch, in.Body = nil, newBody(f, p, a.beat)
			_, err = a.client.PutObject(ctx, in)
			return err
		}
		return x.st.notDamaged(f, p, err)
	})
	if KindOf(err) == Exists {
		return inUse(x.o.Place)
	}
	return err
}

func (x put) input(p *part, overwrite bool) *s3.PutObjectInput {
	o := x.o.Object
	in := &s3.PutObjectInput{
		Bucket: &x.o.Bucket, Key: &x.o.Key, ContentLength: &p.size,
		ContentType: text(o.ContentType), CacheControl: text(o.CacheControl), Metadata: o.Metadata,
		StorageClass: types.StorageClass(o.StorageClass), ACL: types.ObjectCannedACL(o.ACL),
		ServerSideEncryption: types.ServerSideEncryption(o.SSE), SSEKMSKeyId: text(o.KMSKey), Tagging: text(o.tagging()),
	}
	if !o.NoChecksum {
		in.ChecksumCRC32, in.ChecksumAlgorithm = aws.String(checksum(p.crc)), types.ChecksumAlgorithmCrc32
	}
	if !overwrite {
		in.IfNoneMatch = aws.String("*")
	}
	return in
}

// isThere is whether the store has these bytes under the key already, as after a
// try whose answer was lost.
func (x put) isThere(ctx context.Context, c *s3.Client, p *part) (bool, error) {
	return x.st.holds(ctx, c, x.o.Place, expected{size: p.size, full: checksum(p.crc)}, x.born)
}
