; Derivatives of expressions in x, made simple on the way; then the value of one at x = 2.
;=> small ((* 3 (^ x 2)) 12)
;=> full ((* 120 x) 240 9217)

(define (sum a b)
  (cond ((and (number? a) (number? b)) (+ a b))
        ((equal? a 0) b)
        ((equal? b 0) a)
        ((equal? a b) (product 2 a))
        (else (list '+ a b))))

; Numbers go to the front, and become one.
(define (product a b)
  (cond ((and (number? a) (number? b)) (* a b))
        ((or (equal? a 0) (equal? b 0)) 0)
        ((equal? a 1) b)
        ((equal? b 1) a)
        ((number? b) (product b a))
        ((and (number? a) (pair? b) (eq? (car b) '*) (number? (cadr b)))
         (product (* a (cadr b)) (caddr b)))
        (else (list '* a b))))

(define (power base n)
  (cond ((= n 0) 1)
        ((= n 1) base)
        (else (list '^ base n))))

(define (derive e)
  (cond ((number? e) 0)
        ((symbol? e) (if (eq? e 'x) 1 0))
        ((eq? (car e) '+) (sum (derive (cadr e)) (derive (caddr e))))
        ((eq? (car e) '*)
         (sum (product (derive (cadr e)) (caddr e)) (product (cadr e) (derive (caddr e)))))
        ((eq? (car e) '^)
         (product (product (caddr e) (power (cadr e) (- (caddr e) 1))) (derive (cadr e))))
        (else (error "no rule for" e))))

(define (derive-times n e) (if (= n 0) e (derive-times (- n 1) (derive e))))

(define (raise base n) (if (= n 0) 1 (* base (raise base (- n 1)))))

(define (value e x)
  (cond ((number? e) e)
        ((symbol? e) x)
        ((eq? (car e) '+) (+ (value (cadr e) x) (value (caddr e) x)))
        ((eq? (car e) '*) (* (value (cadr e) x) (value (caddr e) x)))
        (else (raise (value (cadr e) x) (caddr e)))))

; x + x^2 + … + x^n
(define (series n) (if (= n 1) 'x (list '+ (series (- n 1)) (power 'x n))))

(define (small)
  (let ((d (derive '(^ x 3))))
    (list d (value d 2))))

; The third derivative of a product is large before it is simple; a long series many times.
(define (full)
  (let ((d (derive-times 4 '(^ x 5))))
    (let loop ((i 0))
      (when (< i 200)
        (derive-times 4 '(* (^ (+ (^ x 2) x) 6) (+ x (* 3 (^ x 4)))))
        (derive-times 3 (series 12))
        (loop (+ i 1))))
    (list d (value d 2) (value (derive (series 10)) 2))))

(if (eq? size 'full) (full) (small))
