package upload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// codeKinds sorts what stores answer, from "Error responses" in the S3 API
// reference. Codes that are not here go by their HTTP status.
var codeKinds = map[string]Kind{
	"InvalidAccessKeyId": Denied, "SignatureDoesNotMatch": Denied, "AccessDenied": Denied, "AllAccessDisabled": Denied,
	"AccountProblem": Denied, "NotSignedUp": Denied, "InvalidSecurity": Denied, "UnauthorizedAccess": Denied, "Forbidden": Denied,
	"XAdminUserNotFound": Denied, "KMS.DisabledException": Denied, "KMS.NotFoundException": Denied, "InvalidPayer": Denied,

	"ExpiredToken": Expired, "ExpiredTokenException": Expired, "TokenRefreshRequired": Expired, "InvalidToken": Expired,
	"InvalidClientTokenId": Expired, "RequestExpired": Expired,

	"NoSuchBucket": Missing, "NoSuchUpload": Gone, "InvalidPart": Damaged, "InvalidPartOrder": Damaged,
	"PreconditionFailed": Exists,

	"SlowDown": Away, "ServiceUnavailable": Away, "InternalError": Away, "RequestTimeout": Away, "RequestTimeTooSkewed": Away,
	"OperationAborted": Away, "ConditionalRequestConflict": Away, "IncompleteBody": Away, "ThrottlingException": Away,
	"RequestLimitExceeded": Away, "TooManyRequests": Away, "Throttling": Away, "BandwidthLimitExceeded": Away, "Busy": Away,
	// What arrived is not what was sent: once more.
	"BadDigest": Away, "XAmzContentSHA256Mismatch": Away, "InvalidDigest": Away,
}

// remedies say what to do, by the store's code or else by kind.
var remedies = map[string]string{
	"InvalidAccessKeyId":           "the store does not know the access key: see which credentials are in use",
	"XAdminUserNotFound":           "the store does not know the access key: see which credentials are in use",
	"SignatureDoesNotMatch":        "the secret key does not belong to the access key",
	"NoSuchBucket":                 "make the bucket or correct its name",
	"PermanentRedirect":            "the bucket is in another region: give that one",
	"AuthorizationHeaderMalformed": "give the bucket's region",
	"IllegalLocationConstraint":    "give the bucket's region",
	"PreconditionFailed":           "choose another key, or allow to overwrite",
}

var kindRemedies = map[Kind]string{
	Denied:  "allow these credentials s3:PutObject and s3:AbortMultipartUpload there",
	Expired: "renew the credentials",
}

// classify turns whatever a request gave into an Error.
func (s *store) classify(op string, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	e = &Error{Where: s.place.String(), Msg: op}
	var api smithy.APIError
	var answer *awshttp.ResponseError
	status := 0
	if errors.As(err, &answer) && answer.ResponseError != nil && answer.Response != nil {
		status = answer.HTTPStatusCode()
	}
	e.unsure = status >= 500 || status/100 == 2
	switch {
	case errors.As(err, &api) && status != 0:
		s.judge(e, api, status, answer.ServiceRequestID())
		return e
	case status/100 == 2: // an answer was begun and cut, or is no answer of S3
		e.Kind, e.Err = Away, errors.New(s.clean(firstLine(err)))
		return e
	case status != 0:
		e.Kind, e.Err = kindOfStatus(status), fmt.Errorf("HTTP %d %s", status, http.StatusText(status))
	case strings.Contains(err.Error(), "failed to refresh cached credentials"):
		e.Kind, e.Err = Expired, errors.New(s.clean(firstLine(err)))
	case untrusted(err):
		e.Kind, e.Err = Settings, errors.New(s.clean(inner(err).Error()))
		e.Remedy = "give the CA that signed the store's certificate"
	case badRequest(err):
		e.Kind, e.Err = Settings, errors.New(s.clean(firstLine(err)))
	default:
		e.Kind, e.Err = Away, errors.New(s.clean(inner(err).Error()))
		e.unsure = !unconnected(err)
	}
	if e.Remedy == "" {
		e.Remedy = kindRemedies[e.Kind]
	}
	return e
}

// kindOf is the kind of what a request gave, 0 for nil.
func (s *store) kindOf(err error) Kind {
	if err == nil {
		return 0
	}
	return s.classify("", err).Kind
}

// unconnected is whether the request was never sent.
func unconnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// judge reads an error that the store gave.
func (s *store) judge(e *Error, api smithy.APIError, status int, request string) {
	code, said := api.ErrorCode(), s.clean(api.ErrorMessage())
	e.Kind = codeKinds[code]
	if e.Kind == 0 {
		e.Kind = kindOfStatus(status)
	}
	e.Remedy = remedies[code]
	if e.Remedy == "" {
		e.Remedy = kindRemedies[e.Kind]
	}
	text := fmt.Sprintf("%s (HTTP %d", code, status)
	if request != "" {
		text += ", request " + request
	}
	text += ")"
	if said != "" && said != code {
		text += ": " + strings.TrimSuffix(said, ".")
	}
	e.Err = &answered{code: code, status: status, text: text}
}

// answered is an error in the store's own words.
type answered struct {
	code   string
	status int
	text   string
}

func (a *answered) Error() string { return a.text }

// codeOf is the store's code in err, "" when it did not answer.
func codeOf(err error) string {
	var a *answered
	if errors.As(err, &a) {
		return a.code
	}
	return ""
}

// kindOfStatus sorts answers without a known code, such as those to HEAD, which
// have no body.
func kindOfStatus(status int) Kind {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Denied
	case status == http.StatusNotFound:
		return Missing
	case status == http.StatusPreconditionFailed:
		return Exists
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500 && status != http.StatusNotImplemented:
		return Away
	}
	return Settings
}

func untrusted(err error) bool {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verify *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &host) || errors.As(err, &verify)
}

// badRequest finds what the client library refused to send.
func badRequest(err error) bool {
	var invalid smithy.InvalidParamsError
	var serial *smithy.SerializationError
	return errors.As(err, &invalid) || errors.As(err, &serial) || strings.Contains(err.Error(), "resolve endpoint") ||
		strings.Contains(err.Error(), "ResolveEndpoint")
}

// inner is the cause without the request's URL, which is long and names an
// upload id that helps nobody.
func inner(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	var canceled *smithy.CanceledError
	if errors.As(err, &canceled) {
		return canceled.Err
	}
	return err
}

func canceled(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
