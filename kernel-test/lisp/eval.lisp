; An interpreter of Lisp in Lisp, running fib: what the cells hold are programs.
;=> small (5 (1 4 9))
;=> full (610 (1 4 9))

; An environment is a list of (name . value), in a box that definitions can change.
(define (box v) (cons v '()))
(define (unbox b) (car b))

(define (look-up name env)
  (let ((entry (assq name (unbox env))))
    (if entry (cdr entry) (error "no such variable" name))))

(define (extend names values env)
  (if (null? names)
      env
      (cons (cons (car names) (car values)) (extend (cdr names) (cdr values) env))))

(define (evaluate e env)
  (cond ((symbol? e) (look-up e env))
        ((not (pair? e)) e)
        ((eq? (car e) 'quote) (cadr e))
        ((eq? (car e) 'if)
         (if (evaluate (cadr e) env) (evaluate (caddr e) env) (evaluate (cadddr e) env)))
        ((eq? (car e) 'lambda) (list 'function (cadr e) (caddr e) env))
        ((eq? (car e) 'define)
         (let ((entry (cons (cadr e) #f)))
           (set-car! env (cons entry (unbox env)))
           (set-cdr! entry (evaluate (caddr e) env))))
        (else (call (evaluate (car e) env)
                    (map (lambda (e) (evaluate e env)) (cdr e))))))

(define (call f arguments)
  (if (procedure? f)
      (apply f arguments)
      (evaluate (caddr f) (box (extend (cadr f) arguments (unbox (cadddr f)))))))

(define globals
  (box (list (cons '+ +) (cons '- -) (cons '* *) (cons '< <) (cons 'cons cons) (cons 'car car)
             (cons 'cdr cdr) (cons 'null? null?))))

(evaluate '(define fib (lambda (n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2)))))) globals)
(evaluate '(define each (lambda (f l) (if (null? l) '() (cons (f (car l)) (each f (cdr l))))))
          globals)

(list (evaluate (list 'fib (if (eq? size 'full) 15 5)) globals)
      (evaluate '(each (lambda (x) (* x x)) '(1 2 3)) globals))
