// The programs of peer_work.h in Go.
//
//	peer-go WORK
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	buckets      = 1 << 18
	entries      = (64 << 20) / (48 + 88)
	replacements = 4000000
	refilled     = 1000000
	refills      = 10
	shuffled     = 1 << 21
)

type pair struct{ left, right *pair }

type tree struct {
	left, right *tree
	i, j        int32
}

type node struct {
	next  *node
	value *byte
	key   uintptr
	rest  [3]uintptr
}

type leaf struct {
	link *leaf
	rest [2]uintptr
}

type block struct{ links [8]*block }

func want(what bool, why string) {
	if !what {
		fmt.Fprintln(os.Stderr, "peer_work.go:", why)
		os.Exit(1)
	}
}

// Time

var (
	cpuBegan, cpuSpent   time.Duration
	wallBegan            time.Time
	wallSpent            time.Duration
	statsBegan, statsEnd runtime.MemStats
)

func cpu() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func begin() {
	runtime.ReadMemStats(&statsBegan)
	wallBegan = time.Now()
	cpuBegan = cpu()
}

func end() {
	cpuSpent = cpu() - cpuBegan
	wallSpent = time.Since(wallBegan)
	runtime.ReadMemStats(&statsEnd)
}

func longest() (most uint64) {
	for i := statsEnd.NumGC; i > statsBegan.NumGC && i+255 > statsEnd.NumGC; i-- {
		if pause := statsEnd.PauseNs[(i+255)%256]; pause > most {
			most = pause
		}
	}
	return
}

// The numbers of bench_random.c.

type random uint32

func (r *random) pick(count uint32) uint32 {
	x := uint32(*r)
	x ^= x << 13
	x ^= x >> 17
	x ^= x << 5
	*r = random(x)
	return uint32(uint64(x) * uint64(count) >> 32)
}

var draws random

// Trees

func pairs(depth int) *pair {
	if depth == 0 {
		return &pair{}
	}
	left := pairs(depth - 1)
	return &pair{left, pairs(depth - 1)}
}

func (p *pair) count() int {
	if p == nil {
		return 0
	}
	return 1 + p.left.count() + p.right.count()
}

func trees(depth int) {
	begin()
	want(pairs(depth+1).count() == 4<<depth-1, "a tree is not whole")
	kept := pairs(depth)
	for d := 4; d <= depth; d += 2 {
		for i := 0; i < 1<<(depth-d+4); i++ {
			want(pairs(d).count() == 2<<d-1, "a tree is not whole")
		}
	}
	want(kept.count() == 2<<depth-1, "the kept tree is not whole")
	end()
}

func upwards(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	left := upwards(depth - 1)
	return &tree{left: left, right: upwards(depth - 1)}
}

func downwards(depth int, t *tree) {
	if depth == 0 {
		return
	}
	t.left = &tree{}
	t.right = &tree{}
	downwards(depth-1, t.left)
	downwards(depth-1, t.right)
}

func (t *tree) depth() (depth int) {
	for ; t.left != nil; t = t.left {
		depth++
	}
	return
}

func gcbench() {
	begin()
	upwards(18)
	kept := &tree{}
	downwards(16, kept)
	numbers := make([]float64, 500000)
	for i := 1; i < 250000; i++ {
		numbers[i] = 1 / float64(i)
	}
	for depth := 4; depth <= 16; depth += 2 {
		for i := 0; i < (2<<19)/(2<<depth-1); i++ {
			t := &tree{}
			downwards(depth, t)
			want(t.depth() == depth, "a tree is not whole")
			want(upwards(depth).depth() == depth, "a tree is not whole")
		}
	}
	want(kept.depth() == 16 && numbers[1000] == 1.0/1000, "what was kept is not whole")
	end()
}

// Tables

func bucketOf(table []*node, key uint32) **node {
	return &table[key*0x9E3779B1>>14]
}

func entry(key uint32, next *node) *node {
	value := make([]byte, 32+draws.pick(113))
	value[0] = byte(key)
	return &node{next: next, value: &value[0], key: uintptr(key)}
}

func table() []*node {
	table := make([]*node, buckets)
	draws = 0x9E3779B9
	for key := uint32(0); key < entries; key++ {
		bucket := bucketOf(table, key)
		*bucket = entry(key, *bucket)
	}
	return table
}

func hash() {
	table := table()
	begin()
	for i := 0; i < replacements; i++ {
		key := draws.pick(entries)
		link := bucketOf(table, key)
		for (*link).key != uintptr(key) {
			link = &(*link).next
		}
		want(*(*link).value == byte(key), "a value is lost")
		*link = entry(key, (*link).next)
	}
	end()
}

func refill() {
	slots := make([]*block, refilled)
	draws = 0x9E3779B9
	for i := range slots {
		slots[i] = &block{}
	}
	begin()
	for round := 0; round < refills; round++ {
		for i := range slots {
			if draws.pick(2) != 0 {
				slots[i] = nil
			}
		}
		for i := range slots {
			if slots[i] == nil {
				slots[i] = &block{}
			}
		}
	}
	end()
}

// Marking alone

func collect() {
	best := time.Hour
	for i := 0; i < 10; i++ {
		begin()
		runtime.GC()
		end()
		if cpuSpent < best {
			best = cpuSpent
		}
	}
	cpuSpent = best
}

func markTree() {
	kept := pairs(21)
	collect()
	want(kept.count() == 4<<20-1, "the tree is not whole")
}

func markHash() {
	table := table()
	collect()
	want((*bucketOf(table, 1)).value != nil, "the table is not whole")
}

func markShuffled() {
	array := make([]*leaf, shuffled)
	draws = 0x9E3779B9
	for i := range array {
		at := draws.pick(uint32(i) + 1)
		array[i] = array[at]
		array[at] = &leaf{}
	}
	collect()
	want(array[shuffled-1] != nil, "the array is not whole")
}

func main() {
	works := map[string]struct {
		run     func()
		unit    string
		divisor float64
	}{
		"trees-16":      {func() { trees(16) }, "ms", 1e6},
		"trees-18":      {func() { trees(18) }, "ms", 1e6},
		"gcbench":       {gcbench, "ms", 1e6},
		"hash":          {hash, "ns", replacements},
		"refill":        {refill, "ns", refills * refilled / 2},
		"mark-tree":     {markTree, "ms", 1e6},
		"mark-hash":     {markHash, "ms", 1e6},
		"mark-shuffled": {markShuffled, "ms", 1e6},
	}
	want(len(os.Args) > 1, "which work?")
	work, known := works[os.Args[1]]
	want(known, "no work is called so")
	work.run()
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	fmt.Printf("%.1f %s %.3f %.0f %d %.0f\n", float64(cpuSpent)/work.divisor, work.unit,
		float64(longest())/1e6, statsEnd.GCCPUFraction*100, statsEnd.NumGC-statsBegan.NumGC,
		float64(usage.Maxrss)/1024)
}
