#include "textflag.h"

#define SYS_rt_sigprocmask 14
#define SYS_exit_group 231
#define SYS_clone3 435
#define SIG_SETMASK 2
#define CLONE_ARGS_SIZE 88

// func vforkRun(args *cloneArgs, first *step, n uintptr, out *report) int
//
// The kernel preserves all registers but AX, CX and R11 in both processes.
// BX: step, R12: steps left, R13: report.
TEXT ·vforkRun(SB),NOSPLIT,$16-40
	MOVQ	$-1, 0(SP)
	MOVQ	$SYS_rt_sigprocmask, AX
	MOVQ	$SIG_SETMASK, DI
	LEAQ	0(SP), SI
	LEAQ	8(SP), DX
	MOVQ	$8, R10
	SYSCALL

	MOVQ	args+0(FP), DI
	MOVQ	$CLONE_ARGS_SIZE, SI
	MOVQ	first+8(FP), BX
	MOVQ	n+16(FP), R12
	MOVQ	out+24(FP), R13
	MOVQ	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child

	MOVQ	AX, R12
	MOVQ	$SYS_rt_sigprocmask, AX
	MOVQ	$SIG_SETMASK, DI
	LEAQ	8(SP), SI
	MOVQ	$0, DX
	MOVQ	$8, R10
	SYSCALL
	MOVQ	R12, ret+32(FP)
	RET

child:
	MOVQ	0(BX), AX
	MOVQ	8(BX), DI
	MOVQ	16(BX), SI
	MOVQ	24(BX), DX
	MOVQ	32(BX), R10
	MOVQ	40(BX), R8
	MOVQ	48(BX), R9
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JCS	good
	MOVQ	72(BX), CX
	TESTQ	CX, CX
	JNZ	next
	NEGQ	AX
	MOVQ	AX, 0(R13)
	MOVQ	R12, 8(R13)
fail:
	MOVQ	$SYS_exit_group, AX
	MOVQ	$127, DI
	SYSCALL
	JMP	fail
good:
	MOVQ	56(BX), CX
	TESTQ	CX, CX
	JZ	next
	MOVQ	AX, 0(CX)
	MOVQ	64(BX), CX
	TESTQ	CX, CX
	JZ	next
	MOVQ	AX, 0(CX)
next:
	ADDQ	$80, BX
	DECQ	R12
	JNZ	child
	JMP	fail
