#include "textflag.h"

#define SYS_exit_group 94
#define SYS_rt_sigprocmask 135
#define SYS_clone3 435
#define SIG_SETMASK 2
#define CLONE_ARGS_SIZE 88

// func vforkRun(args *cloneArgs, first *step, n uintptr, out *report) int
//
// The kernel preserves all registers but R0 in both processes.
// R19: step, R20: steps left, R21: report.
TEXT ·vforkRun(SB),NOSPLIT,$16-40
	MOVD	$-1, R0
	MOVD	R0, mask-8(SP)
	MOVD	$SYS_rt_sigprocmask, R8
	MOVD	$SIG_SETMASK, R0
	MOVD	$mask-8(SP), R1
	MOVD	$old-16(SP), R2
	MOVD	$8, R3
	SVC

	MOVD	args+0(FP), R0
	MOVD	$CLONE_ARGS_SIZE, R1
	MOVD	first+8(FP), R19
	MOVD	n+16(FP), R20
	MOVD	out+24(FP), R21
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child

	MOVD	R0, R20
	MOVD	$SYS_rt_sigprocmask, R8
	MOVD	$SIG_SETMASK, R0
	MOVD	$old-16(SP), R1
	MOVD	$0, R2
	MOVD	$8, R3
	SVC
	MOVD	R20, ret+32(FP)
	RET

child:
	MOVD	0(R19), R8
	MOVD	8(R19), R0
	MOVD	16(R19), R1
	MOVD	24(R19), R2
	MOVD	32(R19), R3
	MOVD	40(R19), R4
	MOVD	48(R19), R5
	SVC
	CMN	$4095, R0
	BCC	good
	MOVD	72(R19), R22
	CBNZ	R22, next
	NEG	R0, R0
	MOVD	R0, 0(R21)
	MOVD	R20, 8(R21)
fail:
	MOVD	$SYS_exit_group, R8
	MOVD	$127, R0
	SVC
	B	fail
good:
	MOVD	56(R19), R22
	CBZ	R22, next
	MOVD	R0, (R22)
	MOVD	64(R19), R22
	CBZ	R22, next
	MOVD	R0, (R22)
next:
	ADD	$80, R19
	SUB	$1, R20
	CBNZ	R20, child
	B	fail
