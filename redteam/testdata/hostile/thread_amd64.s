#include "textflag.h"

// func call32(nr uint32) int32
TEXT ·call32(SB),NOSPLIT,$0-12
	MOVL	nr+0(FP), AX
	INT	$0x80
	MOVL	AX, ret+8(FP)
	RET

// func rawThread(flags, stack uintptr) int64
TEXT ·rawThread(SB),NOSPLIT,$0-24
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$56, AX // clone
	SYSCALL
	TESTQ	AX, AX
	JNZ	parent
	// The new thread, without anything of Go: all signals blocked, asleep.
	MOVQ	$-1, AX
	MOVQ	AX, 0(SP)
	MOVL	$0, DI // SIG_BLOCK
	MOVQ	SP, SI
	XORL	DX, DX
	MOVL	$8, R10
	MOVL	$14, AX // rt_sigprocmask
	SYSCALL
sleep:
	MOVL	$34, AX // pause
	SYSCALL
	JMP	sleep
parent:
	MOVQ	AX, ret+16(FP)
	RET
