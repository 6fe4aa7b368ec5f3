package image

import (
	"fmt"

	"ward/abi"
)

// Defaults of what a system does not say of a domain: none runs without a bound
// of processes, memory and descriptors.
const (
	DefaultProcesses = 256
	DefaultMemory    = 1 << 30 // bytes
	DefaultCPUWeight = 100
	DefaultFiles     = 1024
	DefaultFileSize  = 1 << 30  // bytes
	DefaultTmp       = 16 << 20 // bytes of /tmp
	DefaultGates     = 64       // of a domain that exports nothing
	ServerGates      = 512      // of one that does
	MaxGates         = 4096     // of any domain
)

// Bounds of the fields of a Quota that have some.
const (
	maxCPUWeight = 10000
	maxCPU       = 100 * 1024    // percent
	maxMessages  = 1_000_000     // a second
	second       = 1_000_000_000 // ns
)

// gateThreads are what a domain may need for each gate that it serves: readers
// that wait in the kernel (gate/readers.go keeps four idle, and one runs).
const gateThreads = 5

// Limits returns the bounds of a domain, what the system does not say replaced
// by the defaults. CPU, Disk and Messages are 0 where there is no limit. A server has
// room for the threads and descriptors that its gates take: else its clients
// together could exhaust its processes.
func (img *Image) Limits(id abi.DomainID) Quota { return img.LimitsOf(&img.Domains[id]) }

// LimitsOf is Limits of a domain that need not be of the image: a child.
func (img *Image) LimitsOf(d *Domain) Quota {
	q := d.Quota
	if q.Gates == 0 {
		switch {
		case d.Names:
			q.Gates = uint32(DefaultGates + 4*len(img.Domains))
		case len(d.Exports) > 0:
			q.Gates = ServerGates
		default:
			q.Gates = DefaultGates
		}
	}
	q.Gates = min(q.Gates, MaxGates)
	if q.Processes == 0 {
		q.Processes = DefaultProcesses
		if d.Names || len(d.Exports) > 0 {
			q.Processes += gateThreads * q.Gates
		}
	}
	if q.Files == 0 {
		q.Files = max(DefaultFiles, 256+2*q.Gates)
	}
	set := func(to *uint32, v uint32) {
		if *to == 0 {
			*to = v
		}
	}
	set(&q.CPUWeight, DefaultCPUWeight)
	if q.Memory == 0 {
		q.Memory = DefaultMemory
	}
	if q.FileSize == 0 {
		q.FileSize = DefaultFileSize
	}
	return q
}

// Rate is the token bucket of Messages; the zero Rate: none.
func (q *Quota) Rate() Rate {
	if q.Messages == 0 {
		return Rate{}
	}
	n := uint64(q.Messages)
	return Rate{Every: (second + n - 1) / n, Burst: q.Messages}
}

func (q *Quota) check() error {
	switch {
	case q.CPUWeight > maxCPUWeight:
		return fmt.Errorf("CPU weight %d: 1 to %d are possible", q.CPUWeight, maxCPUWeight)
	case q.CPU > maxCPU:
		return fmt.Errorf("%d percent of a processor: 1 to %d are possible", q.CPU, maxCPU)
	case q.Disk != 0 && q.Disk < minDisk:
		return fmt.Errorf("%d bytes of disk: at least %d are possible", q.Disk, minDisk)
	case q.Messages > maxMessages:
		return fmt.Errorf("%d messages a second: 1 to %d are possible", q.Messages, maxMessages)
	}
	return nil
}
