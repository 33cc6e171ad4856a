// hello is the program of the test images: it prints the image's version, or sleeps.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "sleep" {
		fmt.Println("sleeping")
		time.Sleep(time.Hour)
	}
	version, err := os.ReadFile("/srv/version")
	if err != nil {
		version = []byte("no version\n")
	}
	fmt.Printf("hello from %s", version)
}
