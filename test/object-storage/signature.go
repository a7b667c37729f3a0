package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strings"
)

type credentials struct{ key, secret string }

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$`)

// guard answers as Amazon S3 does where a request's signature, of version 4, is not one made with the secret.
func (known credentials) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s %s range=%q", r.Method, r.URL, r.Header.Get("Range"))
		switch parts := authorization.FindStringSubmatch(r.Header.Get("Authorization")); {
		case parts == nil:
			refuse(w, "AccessDenied", "Access Denied")
		case parts[1] != known.key:
			refuse(w, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
		case !hmac.Equal([]byte(parts[5]), []byte(known.sign(r, parts[2], parts[3], strings.Split(parts[4], ";")))):
			refuse(w, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}

func (known credentials) sign(r *http.Request, date, region string, signed []string) string {
	headers := make([]string, len(signed))
	for i, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		headers[i] = name + ":" + strings.Join(strings.Fields(value), " ") + "\n"
	}
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), query(r.URL.Query()), strings.Join(headers, ""), strings.Join(signed, ";"), r.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
	scope := date + "/" + region + "/s3/aws4_request"
	digest := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, hex.EncodeToString(digest[:])}, "\n")
	key := []byte("AWS4" + known.secret)
	for _, part := range []string{date, region, "s3", "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func query(values url.Values) string {
	var pairs []string
	for name, all := range values {
		for _, value := range all {
			pairs = append(pairs, escape(name)+"="+escape(value))
		}
	}
	sort.Strings(pairs)
	return strings.Join(pairs, "&")
}

func escape(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}
