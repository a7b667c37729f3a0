// Object storage for the suites: a server that speaks S3 on the loopback interface, keeps objects as files, and refuses whoever does not sign with
// its secret. It says where it listens in its first line and ends with its standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3afero"
	"github.com/spf13/afero"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	folder := flag.String("folder", "", "where objects are kept")
	buckets := flag.String("buckets", "", "names of buckets to make, separated by commas")
	key := flag.String("access-key", "", "access key id that is known")
	secret := flag.String("secret-key", "", "its secret")
	flag.Parse()
	backend, err := s3afero.MultiBucket(afero.NewBasePathFs(afero.NewOsFs(), *folder))
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range strings.Split(*buckets, ",") {
		if exists, err := backend.BucketExists(name); err != nil || exists {
			continue
		}
		if err := backend.CreateBucket(name); err != nil {
			log.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	known := credentials{key: *key, secret: *secret}
	log.Fatal(http.Serve(listener, known.guard(gofakes3.New(backend).Server())))
}
