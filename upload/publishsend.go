package upload

import (
	"context"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// send carries out one entry. All of it may be done twice: a key is put as a
// whole, and what is deleted stays so.
func (p *Publication) send(e pubEntry) error {
	key := p.place(e.Name).Key
	if e.Delete {
		return p.st.do(p.ctx, "deleting "+e.Name, 0, func(ctx context.Context, a attempt) error {
			_, err := a.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &p.o.Bucket, Key: &key})
			if p.st.kindOf(err) == Denied { // it may be meant so, and nothing may wait for it
				p.o.Log.Warn("a file stays in the store: these credentials may not delete it (s3:DeleteObject)", "key", key)
				return nil
			}
			return err
		})
	}
	f, err := os.Open(p.file(e.N))
	if err != nil {
		return localError(p.sp.dir, "the spool cannot be read", err)
	}
	defer f.Close()
	o := p.o.Object
	in := &s3.PutObjectInput{
		Bucket: &p.o.Bucket, Key: &key, ContentLength: &e.Size,
		ContentType: text(e.Type), CacheControl: text(o.CacheControl), Metadata: o.Metadata,
		StorageClass: types.StorageClass(o.StorageClass), ACL: types.ObjectCannedACL(o.ACL),
		ServerSideEncryption: types.ServerSideEncryption(o.SSE), SSEKMSKeyId: text(o.KMSKey), Tagging: text(o.tagging()),
	}
	if !o.NoChecksum {
		in.ChecksumCRC32, in.ChecksumAlgorithm = aws.String(checksum(e.CRC)), types.ChecksumAlgorithmCrc32
	}
	return p.st.do(p.ctx, "sending "+e.Name, 0, func(ctx context.Context, a attempt) error {
		in.Body = newBody(f, &part{size: e.Size}, a.beat)
		_, err := a.client.PutObject(ctx, in)
		return err
	})
}
