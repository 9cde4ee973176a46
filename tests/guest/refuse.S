/* A guest of one boot sector that does by hand what a system's ACPI would: it finds out that it is asked to
 * let a device go, and says no, in every way that the hardware has; when a byte comes in on the serial port,
 * it lets go after all.
 *
 * PCIHP and CPUHP are where the machine has the registers of PCI hotplug and of processor hotplug
 * (docs/specs/acpi_pci_hotplug and acpi_cpu_hotplug of QEMU). Made by tests/CMakeLists.txt, run by
 * tests/c/qemu-refusal.c. On the serial port it says:
 *
 *     ready     it waits to be asked
 *     asked     it was
 *     refused   it has said no
 *     let go    it has ejected the device
 */
#define PCIHP_UP     (PCIHP + 0x00)
#define PCIHP_DOWN   (PCIHP + 0x04)
#define PCIHP_EJECT  (PCIHP + 0x08)
#define PCIHP_BUS    (PCIHP + 0x10)

#define CPUHP_SELECT  (CPUHP + 0x0)
#define CPUHP_COMMAND (CPUHP + 0x5)
#define CPUHP_DATA    (CPUHP + 0x8)

#define OST_EJECT_REQUEST 3    /* the event that is answered */
#define OST_NOT_SUPPORTED 0x80 /* what _OST answers: non-specific failure of an ejection */

    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $ready, %si
    call say

/* Which of the buses has a device that is to go: its bit is in %eax. It sleeps between looks, until the
 * firmware's clock ticks: beside an emulated processor that never rests, QEMU 5.2 gets nothing done. */
asked_yet:
    sti
    hlt
    xorl %ebx, %ebx
next_bus:
    movl %ebx, %eax
    movw $PCIHP_BUS, %dx
    outl %eax, %dx
    movw $PCIHP_DOWN, %dx
    inl %dx, %eax
    testl %eax, %eax
    jnz is_asked
    incl %ebx
    cmpl $32, %ebx
    jb next_bus
    jmp asked_yet

is_asked:
    movl %eax, %edi
    movw $asked, %si
    call say

/* There is no register to refuse with. What is written to those that can be read changes nothing. */
    movl $OST_NOT_SUPPORTED, %eax
    movw $PCIHP_UP, %dx
    outl %eax, %dx
    movw $PCIHP_DOWN, %dx
    outl %eax, %dx

/* The same about processor 0, for which there is one: QEMU hands that on. The first write makes the registers
 * what they are since QEMU 2.7, and is a byte because those before were. */
    xorl %eax, %eax
    movw $CPUHP_SELECT, %dx
    outb %al, %dx
    outl %eax, %dx
    movb $1, %al
    movw $CPUHP_COMMAND, %dx
    outb %al, %dx
    movl $OST_EJECT_REQUEST, %eax
    movw $CPUHP_DATA, %dx
    outl %eax, %dx
    movb $2, %al
    movw $CPUHP_COMMAND, %dx
    outb %al, %dx
    movl $OST_NOT_SUPPORTED, %eax
    movw $CPUHP_DATA, %dx
    outl %eax, %dx
    movw $refused, %si
    call say

/* Until a byte comes in on the serial port. */
wait_for_word:
    hlt
    movw $0x3fd, %dx
    inb %dx, %al
    testb $1, %al
    jz wait_for_word

    movl %ebx, %eax
    movw $PCIHP_BUS, %dx
    outl %eax, %dx
    movl %edi, %eax
    movw $PCIHP_EJECT, %dx
    outl %eax, %dx
    movw $let_go, %si
    call say
stop:
    hlt
    jmp stop

say:
    movw $0x3f8, %dx
1:  lodsb
    testb %al, %al
    jz 2f
    outb %al, %dx
    jmp 1b
2:  ret

ready:   .asciz "ready\n"
asked:   .asciz "asked\n"
refused: .asciz "refused\n"
let_go:  .asciz "let go\n"
