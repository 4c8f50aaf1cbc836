// One process of a measurement of Go's netchan, as benchmarks/process.py is for Python: ROLE WINDOW BUFFER WARMUP COUNT.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/exp/old/netchan"
)

// Record is the value that the Python side sends as Record.
type Record struct {
	Id     int
	Name   string
	Weight float64
}

type sample struct {
	Values  int     `json:"values"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
}

type stopwatch struct {
	start time.Time
	cpu   float64
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func startWatch() stopwatch {
	return stopwatch{time.Now(), cpuSeconds()}
}

func (w stopwatch) stop(values int) sample {
	return sample{values, time.Since(w.start).Seconds(), cpuSeconds() - w.cpu}
}

func say(what interface{}) {
	line, err := json.Marshal(what)
	check(err)
	fmt.Println(string(line))
}

func example(i int) Record {
	return Record{i, fmt.Sprintf("record %d", i), float64(i) / 8}
}

func serve(input *bufio.Reader, buffer, warmup, count int) {
	examples := make([]Record, 1024)
	for i := range examples {
		examples[i] = example(i)
	}
	values := make(chan Record, buffer)
	exporter := netchan.NewExporter()
	check(exporter.Export("values", values, netchan.Send))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go exporter.Serve(listener)
	say(map[string]int{"port": listener.Addr().(*net.TCPAddr).Port})
	for i := 0; i < warmup; i++ {
		values <- examples[i%len(examples)]
	}
	watch := startWatch()
	for i := warmup; i < warmup+count; i++ {
		values <- examples[i%len(examples)]
	}
	input.ReadString('\n')
	say(watch.stop(count))
}

func connect(input *bufio.Reader, window, buffer, warmup, count int) {
	port, err := input.ReadString('\n')
	check(err)
	connection, err := net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(port))
	check(err)
	values := make(chan Record, buffer)
	importer := netchan.NewImporter(connection)
	check(importer.Import("values", values, netchan.Recv, window))
	for i := 0; i < warmup; i++ {
		<-values
	}
	var last Record
	watch := startWatch()
	for i := 0; i < count; i++ {
		last = <-values
	}
	result := watch.stop(count)
	if expected := example((warmup + count - 1) % 1024); last != expected {
		log.Fatalf("expected %v as the last value, got %v", expected, last)
	}
	say(result)
}

func main() {
	var numbers [4]int
	for i := range numbers {
		number, err := strconv.Atoi(os.Args[2+i])
		check(err)
		numbers[i] = number
	}
	input := bufio.NewReader(os.Stdin)
	if os.Args[1] == "serve" {
		serve(input, numbers[1], numbers[2], numbers[3])
	} else {
		connect(input, numbers[0], numbers[1], numbers[2], numbers[3])
	}
}
