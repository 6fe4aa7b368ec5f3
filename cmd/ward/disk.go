package main

import (
	"errors"
	"fmt"

	"ward/image"
	"ward/kernel"
)

// disksBounded reports quotas of disk that nobody could enforce, before anything
// is started: the creator would refuse them when the domain starts.
func disksBounded(img *image.Image) error {
	var errs []error
	for i := range img.Domains {
		d := &img.Domains[i]
		if d.Quota.Disk == 0 || !d.Start.Allow {
			continue
		}
		for _, f := range d.Files {
			if !f.Verdict.Allow || f.Access&image.Write == 0 {
				continue
			}
			if err := kernel.CheckDisk(f.Path); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", d.Name, err))
				break
			}
		}
	}
	if len(errs) > 0 {
		return failed("the system cannot run here:\n%w", errors.Join(errs...))
	}
	return nil
}
